"""The network that Millwright tuned, as a sequence classifier of transformers, so that peers run the same.

The benchmark writes a folder in the Hub's layout and copies this file into it; `auto_map` in its config
makes `AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)` find the class.
It needs torch and transformers, nothing of Millwright.
"""

import torch
from torch import nn
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledForSequenceClassification(BertPreTrainedModel):
    """An encoder, the means of some of its states each scaled to length one, and a linear head.

    `config.pooled_states` says which: places in the encoder's hidden states.
    """

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(len(config.pooled_states) * config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, return_dict=True):
        """Logits [B, C] of token ids [B, T]."""
        states = self.bert(input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
        weight = attention_mask.unsqueeze(-1).float()
        means = [(states[at].float() * weight).sum(1) / weight.sum(1) for at in self.config.pooled_states]
        features = torch.cat([nn.functional.normalize(mean, dim=1) for mean in means], dim=1)
        return SequenceClassifierOutput(logits=self.head(features.to(self.head.weight.dtype)).float())
