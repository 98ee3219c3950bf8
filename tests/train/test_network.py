"""Cutting an encoder into cached lower layers and trained upper ones changes nothing, in every family."""

import pytest
import torch
from torch.nn.functional import normalize

from millwright.train.network import lower_encoder, mean_pool, pad, upper_network, whole_network


@pytest.mark.parametrize("depth", [1, 2])
def test_upper_layers_over_cached_states_equal_the_whole(tiny_backbone, depth):
    torch.manual_seed(0)
    ids, mask = pad([torch.tensor([2, 5, 6, 7, 3]), torch.tensor([2, 9, 3])], tiny_backbone.pad_id)
    whole = whole_network(tiny_backbone, 3, words=False).eval()
    upper = upper_network(tiny_backbone, 3, depth).eval()
    upper.head.load_state_dict(whole.head.state_dict())
    with torch.inference_mode():
        states = (
            lower_encoder(tiny_backbone, depth).eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        )
        assert torch.allclose(upper(states, mask), whole(ids, mask), atol=1e-5)


def test_padding_does_not_change_an_answer(tiny_backbone):
    torch.manual_seed(0)
    network = whole_network(tiny_backbone, 3).eval()
    short = torch.tensor([2, 9, 3])
    alone_ids, alone_mask = pad([short], tiny_backbone.pad_id)
    ids, mask = pad([short, torch.tensor([2, 5, 6, 7, 8, 3])], tiny_backbone.pad_id)
    with torch.inference_mode():
        assert torch.allclose(network(ids, mask)[0], network(alone_ids, alone_mask)[0], atol=1e-5)


def test_mean_pool_is_the_mean_of_real_tokens_at_length_one():
    state = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [100.0, 100.0]]])
    pooled = mean_pool(state, torch.tensor([[1, 1, 0]]))
    assert torch.allclose(pooled, normalize(torch.tensor([[1.5, 2.0]]), dim=1))


def test_features_join_the_words_the_last_state_and_the_one_two_layers_below(tiny_backbone):
    ids, mask = pad([torch.tensor([2, 5, 6, 3])], tiny_backbone.pad_id)
    with torch.inference_mode():
        out = tiny_backbone.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        expected = torch.cat(
            [
                normalize(out.hidden_states[0].mean(1)),
                normalize(out.hidden_states[-3].mean(1)),
                normalize(out.last_hidden_state.mean(1)),
            ],
            1,
        )
        assert torch.allclose(whole_network(tiny_backbone, 2).eval().features(ids, mask), expected, atol=1e-5)
