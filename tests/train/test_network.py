"""Cutting an encoder into cached lower layers and trained upper ones changes nothing, in every family."""

import pytest
import torch
from torch.nn.functional import normalize

from millwright.train.network import (
    frozen_network,
    lower_encoder,
    mean_pool,
    pad,
    upper_network,
    whole_network,
)


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


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_frozen_network_is_a_copy_to_the_byte_and_leaves_the_backbone_as_it_was(tiny_backbone, precision):
    before = {name: tensor.clone() for name, tensor in tiny_backbone.model.state_dict().items()}
    ids, mask = pad([torch.tensor([2, 5, 6, 7, 3]), torch.tensor([2, 9, 3])], tiny_backbone.pad_id)
    copied = whole_network(tiny_backbone, 1).to(precision).eval()
    frozen = frozen_network(tiny_backbone, torch.device("cpu"), precision)
    with torch.inference_mode():
        assert torch.equal(frozen.features(ids, mask), copied.features(ids, mask))
    after = tiny_backbone.model.state_dict()
    assert {tensor.dtype for tensor in frozen.encoder.parameters()} == {precision}
    assert all(tensor.dtype == before[name].dtype for name, tensor in after.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


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
