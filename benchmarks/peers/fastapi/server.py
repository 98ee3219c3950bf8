"""FastAPI and a transformers pipeline, as tutorials write it: one text a request, float32, no batches."""

import os

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

FOLDER = os.environ["MODEL"]
app = FastAPI()
classify = pipeline(
    "text-classification",
    model=AutoModelForSequenceClassification.from_pretrained(FOLDER, trust_remote_code=True),
    tokenizer=AutoTokenizer.from_pretrained(FOLDER),
)


class Message(BaseModel):
    """One text."""

    text: str


@app.post("/predict")
def predict(message: Message) -> dict:
    """The best label; FastAPI runs this in its thread pool."""
    return classify(message.text)[0]


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
