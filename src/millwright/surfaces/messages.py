"""What travels over HTTP: requests are checked here, once, and become records behind the door."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

from millwright.modalities.text import is_unicode


def whole(text: str) -> str:
    """Refuse half of a surrogate pair: JSON can carry one, but neither UTF-8 nor the database can."""
    if not is_unicode(text):
        raise ValueError("text must be valid Unicode, got half of a surrogate pair")
    return text


Words = Annotated[StrictStr, AfterValidator(whole)]


class Message(BaseModel):
    """Base of requests: an unknown field is refused."""

    model_config = ConfigDict(extra="forbid")


class PredictionRequest(Message):
    """POST /v1/predictions."""

    inputs: list[Words] = Field(min_length=1, description="Texts to look at.")
    subject: Words | None = Field(None, max_length=200, description="Whose data the inputs are.")
    top_k: StrictInt | None = Field(None, ge=1, le=100, description="How many labels to return for each.")
    version: Words = Field("champion", description="A version or an alias.")
    timeout_s: float | None = Field(
        None, gt=0, description="Seconds to wait for the answer; serve.deadline_s at the most."
    )


class LabelProbability(BaseModel):
    """One label of a ranking."""

    label: str
    probability: float


class PredictionAnswer(BaseModel):
    """An answer. `ask`: please ask this user for the right label, whatever the answer was."""

    id: str
    label: str
    probability: float
    version: str
    ask: bool
    top: list[LabelProbability] | None = None


class PredictionsAnswer(BaseModel):
    """Answers in the order of the inputs."""

    predictions: list[PredictionAnswer]


class SpanAnswer(BaseModel):
    """A span of an input: characters `start` to `end` (exclusive) of it as it came."""

    start: int
    end: int
    label: str
    probability: float
    text: str


class SpanPredictionAnswer(BaseModel):
    """The spans of an input. `probability`: that all words of it are marked right."""

    id: str
    spans: list[SpanAnswer]
    probability: float
    version: str
    ask: bool


class SpanPredictionsAnswer(BaseModel):
    """Answers in the order of the inputs, of a project where spans are to be found."""

    predictions: list[SpanPredictionAnswer]


class FeedbackRequest(Message):
    """POST /v1/feedback: at least one of label, rating, comment, csat, nps, outcome."""

    prediction: Words = Field(max_length=64, description="The id of a prediction.")
    label: Words | None = Field(None, max_length=200, description="The right label.")
    rating: StrictInt | None = Field(None, description="1 to 5; a thumb up is 5, a thumb down 1.")
    comment: Words | None = Field(None, description="Anything else.")
    csat: StrictInt | None = Field(None, description="Satisfaction, 1 to 5.")
    nps: StrictInt | None = Field(None, description="Would recommend, 0 to 10.")
    outcome: Words | None = Field(None, description="What became of it: resolved, escalated, bought.")
    key: Words | None = Field(None, description="Your name for this message; sent again, it is kept once.")


class FeedbackAnswer(BaseModel):
    """The opinion's id: it is on disk."""

    id: str


class SurveyAnswer(BaseModel):
    """Whether to ask the user of a prediction, drawn with this probability."""

    survey: str
    prediction: str
    ask: bool
    probability: float


class ModelAnswer(BaseModel):
    """A version that is served."""

    name: str
    aliases: list[str]
    method: str
    accuracy: float | None
    runtime: str
    labels: list[str]


class ModelsAnswer(BaseModel):
    """All versions that are served."""

    models: list[ModelAnswer]


class ErrorDetail(BaseModel):
    """What was wrong, where, with which value, and what to do."""

    message: str
    field: str | None = None
    value: str | None = None
    remedy: str


class ErrorAnswer(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail
