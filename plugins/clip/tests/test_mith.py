"""MITH's losses and its head against slow transcriptions of the authors' code."""

import math

import numpy as np
import pytest
import torch
from hashzoo_clip.concepts import Block, Concepts, MithHead, Parts, aggregated, positions
from hashzoo_clip.mith import MithTrainer, info_nce
from torch import nn

from hashzoo import HashzooError
from hashzoo.testing import toy_job

TOKENS = {"image": {"pooled": 24, "tokens": (5, 10)}, "text": {"pooled": 16, "tokens": (7, 16)}}
ROWS, BITS, WIDTH = 6, 6, 3


def small(widths, bits):
    return MithHead(widths, bits, width=64, blocks=1)


# ---- the losses


def log_sum(scores):
    return math.log(sum(math.exp(score) for score in scores))


def slow_likelihood(table, codes, similar):
    total = 0.0
    for j in range(len(table)):
        for i in range(len(codes)):
            theta = min(max(float(table[j] @ codes[i]), -64), 64) / 2
            total += math.log(1 + math.exp(theta)) - similar[j, i] * theta
    return total / similar.size


def slow_info_nce(image, text, temperature):
    """Of sets of pairs, (N, K, width)."""
    losses = []
    for a, b in zip(image, text, strict=True):
        scores = a @ b.T / temperature
        for k in range(len(a)):
            losses.append((log_sum(scores[k]) - scores[k, k] + log_sum(scores[:, k]) - scores[k, k]) / 2)
    return sum(losses) / len(losses)


@pytest.fixture
def drawn(labels):
    """Arrays of the parts of images, then of texts; tables of nine training rows; similarity (9, B)."""
    rng = np.random.default_rng(1)
    shapes = {"feature": (ROWS, WIDTH), "whole": (ROWS, BITS), "local": (ROWS, BITS), "concepts": (ROWS, BITS, 2)}
    arrays = [np.tanh(rng.normal(size=shape)) for _ in range(2) for shape in shapes.values()]
    names = [f"{role} {kind}" for role in ("image", "text") for kind in ("whole", "local")]
    tables = {name: 2 * rng.normal(size=(9, BITS)) for name in names}
    return arrays, tables, (rng.uniform(size=(9, ROWS)) < 0.4).astype(float)


def terms_of(trainer, tables, similar):
    tensors = {name: torch.from_numpy(table) for name, table in tables.items()}
    return lambda *parts: trainer.terms(Parts(*parts[:4]), Parts(*parts[4:]), tensors, torch.from_numpy(similar))


def slow_terms(tables, similar, local, inter, quantisation, contrast, alpha, mix, temperature):
    def loss(f_i, whole_i, local_i, concepts_i, f_t, whole_t, local_t, concepts_t):
        total = local * slow_likelihood(tables["image local"], local_i, similar)
        total += local * slow_likelihood(tables["text local"], local_t, similar)
        total += inter * slow_likelihood(tables["image whole"], whole_t, similar)
        total += inter * slow_likelihood(tables["text whole"], whole_i, similar)
        code = np.sign(mix * whole_i + (1 - mix) * local_i + mix * whole_t + (1 - mix) * local_t)
        for whole, of_tokens in ((whole_i, local_i), (whole_t, local_t)):
            total += quantisation * ((0.5 * whole + 0.5 * of_tokens - code) ** 2).sum() / ROWS / BITS
        total += contrast * slow_info_nce(f_i[None], f_t[None], temperature)
        return total + contrast * alpha * slow_info_nce(concepts_i, concepts_t, temperature)

    return loss


def test_the_losses_and_gradients_are_the_codes(agrees, drawn):
    arrays, tables, similar = drawn
    weights = {"local": 1.3, "inter": 0.7, "quantisation": 2.0, "contrast": 1.5, "alpha": 0.3, "mix": 0.8}
    weights["temperature"] = 0.5
    ours = terms_of(MithTrainer(distillation=0, balanced_pairs=False, **weights), tables, similar)
    agrees(ours, slow_terms(tables, similar, **weights), arrays)


def test_inner_products_beyond_the_limit_have_no_gradient(drawn):
    arrays, tables, similar = drawn
    tables = {name: 1e6 * table for name, table in tables.items()}
    parts = [torch.from_numpy(array).requires_grad_() for array in arrays]
    terms = terms_of(MithTrainer(), tables, similar)(*parts)
    (terms["whole"] + terms["tokens"]).backward()
    assert not any(parts[place].grad.any() for place in (1, 2, 5, 6))


def test_both_codes_are_drawn_to_each_other_one_of_them_a_tenth(drawn):
    arrays, tables, similar = drawn
    parts = [torch.from_numpy(array).requires_grad_() for array in arrays]
    term = terms_of(MithTrainer(distillation=3.0), tables, similar)(*parts)["distillation"]
    apart = [arrays[place] - arrays[place + 1] for place in (1, 5)]
    assert term.item() == pytest.approx(3 * 1.1 * sum((each**2).sum() for each in apart) / ROWS)
    term.backward()
    for place, each in zip((1, 5), apart, strict=True):
        np.testing.assert_allclose(parts[place].grad.numpy(), 3 * 0.1 * 2 * each / ROWS)
        np.testing.assert_allclose(parts[place + 1].grad.numpy(), 3 * -2 * each / ROWS)


def test_constants_are_the_codes():
    made = MithTrainer()
    found = [made.local, made.inter, made.quantisation, made.contrast, made.alpha, made.distillation]
    assert found == [1, 10, 8, 50, 0.01, 1]
    assert [made.back, made.mix, made.temperature, made.encoder_lr, made.weight_decay] == [0.1, 0.99, 0.07, 2e-6, 0.01]


def test_equal_pairs_that_differ_from_all_others_cost_nothing():
    features = torch.eye(4)[None]
    assert info_nce(features, features, 0.01).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(features * 0, features, 1.0).item() == pytest.approx(math.log(4))


# ---- the head


def slow_aggregated(tokens, scores, padding, top):
    """As the authors' code: positive scores, of them the highest of each token, a softmax over the tokens."""
    rows, count, bits = scores.shape
    found = np.zeros((rows, bits, tokens.shape[2]))
    for row in range(rows):
        for bit in range(bits):
            heard = {}
            for place in range(count):
                highest = sorted(scores[row, place])[-top:]
                if not padding[row, place] and scores[row, place, bit] > 0 and scores[row, place, bit] >= highest[0]:
                    heard[place] = math.exp(scores[row, place, bit])
            for place, weight in heard.items():
                found[row, bit] += weight / sum(heard.values()) * tokens[row, place]
    return found


@pytest.mark.parametrize("top", [1, 3, 8])
def test_each_concept_hears_the_tokens_that_speak_for_it(top):
    rng = np.random.default_rng(2)
    tokens, scores = rng.normal(size=(3, 5, 4)), np.tanh(rng.normal(size=(3, 5, 7)))
    padding = np.zeros((3, 5), dtype=bool)
    padding[1, 2:] = padding[2] = True
    found = aggregated(*map(torch.from_numpy, (tokens, scores, padding)), top)
    np.testing.assert_allclose(found.numpy(), slow_aggregated(tokens, scores, padding, top), atol=1e-12)
    assert not found[2].any()


def test_concepts_are_rows_of_a_matrix_after_residual_perceptrons():
    model, x = Concepts(8, 5, blocks=2), torch.randn(3, 8)
    expected = x
    for norm, wide, activation, narrow in model.blocks:
        hidden = activation(nn.functional.linear(norm(expected), wide.weight, wide.bias))
        expected = expected + hidden @ narrow.weight.T + narrow.bias
    torch.testing.assert_close(model.feature(x), expected)
    torch.testing.assert_close(model(expected), torch.tanh(expected @ model.scores.weight.T))
    assert [tuple(block[1].weight.shape) for block in model.blocks] == [(32, 8)] * 2


def test_a_block_is_that_of_clip_but_for_its_activation():
    block, x = Block(128), torch.randn(2, 5, 128)
    attention = nn.MultiheadAttention(128, 2, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(block.queries_keys_values.weight)
        attention.in_proj_bias.copy_(block.queries_keys_values.bias)
        attention.out_proj.weight.copy_(block.mixed.weight)
        attention.out_proj.bias.copy_(block.mixed.bias)
    normed = block.before(x)
    expected = x + attention(normed, normed, normed, need_weights=False)[0]
    expected = expected + block.narrow(nn.functional.gelu(block.wide(block.between(expected))))
    torch.testing.assert_close(block(x), expected)


def test_positions_are_sines_and_cosines():
    found = positions(5, 8)
    for place in range(5):
        for channel in range(4):
            angle = place / 10_000 ** (2 * channel / 8)
            assert found[place, 2 * channel].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[place, 2 * channel + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_the_code_is_that_of_the_item_and_that_of_its_tokens_bit_by_bit():
    head = MithHead({"pooled": 20, "tokens": (4, 9)}, bits=6, width=64, layers=2)
    x = {"pooled": torch.randn(3, 20), "tokens": torch.randn(3, 4, 9)}
    x["tokens"][1, 2:] = 0
    tokens = head.token_input(x["tokens"])
    scores = head.concepts(head.concepts.feature(tokens))
    padding = torch.tensor([[False] * 4, [False, False, True, True], [False] * 4])
    heard = head.transformer(aggregated(tokens, scores, padding, 8) + positions(6, 64) / 8)
    parts = head.parts(x)
    for bit in range(6):
        expected = torch.tanh(heard[:, bit] @ head.bit_weight[bit] + head.bit_bias[bit])
        torch.testing.assert_close(parts.local[:, bit], expected)
    feature = head.concepts.feature(head.whole_input(x["pooled"]))
    torch.testing.assert_close(parts.whole, head.concepts(feature))
    torch.testing.assert_close(parts.feature, feature / feature.norm(dim=1, keepdim=True))
    aligned = head.alignment(heard)
    torch.testing.assert_close(parts.concepts, aligned / aligned.norm(dim=2, keepdim=True))
    torch.testing.assert_close(head(x), (parts.whole + parts.local) / 2)


def test_padding_says_nothing():
    head = MithHead({"pooled": 20, "tokens": (4, 9)}, bits=6, width=64)
    pooled, tokens = torch.randn(3, 20), torch.randn(3, 2, 9)
    filled = torch.cat([tokens, torch.zeros(3, 2, 9)], dim=1)
    torch.testing.assert_close(head({"pooled": pooled, "tokens": tokens}), head({"pooled": pooled, "tokens": filled}))


def test_no_gradient_goes_through_the_weights_of_tokens():
    head = MithHead({"pooled": 20, "tokens": (4, 9)}, bits=6, width=64)
    head.parts({"pooled": torch.randn(3, 20), "tokens": torch.randn(3, 4, 9)}).local.sum().backward()
    assert head.concepts.scores.weight.grad is None
    assert head.token_input.weight.grad.any()


def test_tokens_and_vector_of_one_width_lie_in_one_space():
    alike, apart = (MithHead({"pooled": pooled, "tokens": (4, 9)}, 6, width=64) for pooled in (9, 20))
    assert (alike.token_input, apart.token_input.in_features) == (None, 9)
    vector = torch.randn(3, 9)
    found = alike.parts({"pooled": vector, "tokens": vector[:, None].expand(3, 4, 9)})
    torch.testing.assert_close(found.local, alike.parts({"pooled": vector}).local)
    memories = [tensor.data_ptr() for tensor in alike.state_dict().values()]
    assert len(set(memories)) == len(memories), "what is saved may share no memory"


def test_without_tokens_the_vector_is_the_one_token():
    head, pooled = MithHead({"pooled": 20}, bits=6, width=64), torch.randn(3, 20)
    expected = MithHead({"pooled": 20, "tokens": (1, 20)}, bits=6, width=64)
    expected.load_state_dict(head.state_dict())
    torch.testing.assert_close(head({"pooled": pooled}), expected({"pooled": pooled, "tokens": pooled[:, None]}))


def test_width_0_is_the_papers_head_without_a_layer_before_it():
    head = MithHead({"pooled": 128, "tokens": (4, 128)}, bits=6, width=0, layers=2)
    assert isinstance(head.whole_input, nn.Identity)
    assert (head.width, head.transformer[0].heads) == (128, 2)
    assert head({"pooled": torch.randn(3, 128), "tokens": torch.randn(3, 4, 128)}).shape == (3, 6)


@pytest.mark.parametrize(
    ("widths", "width", "said"),
    [
        ({"pooled": 20}, 100, "width is a multiple of 64, not 100"),
        ({"pooled": 20}, 0, "width is a multiple of 64, not 20"),
        ({"pooled": 20}, -64, "width is a multiple of 64, not -64"),
        ({"pooled": 128, "tokens": (4, 64)}, 0, "width=0 needs tokens as wide as features, and 64 is not 128"),
    ],
)
def test_widths_that_do_not_fit_are_refused(widths, width, said):
    with pytest.raises(ValueError, match=said):
        MithHead(widths, 6, width=width)


# ---- the training


@pytest.mark.parametrize("widths", [TOKENS, {}], ids=["tokens", "no tokens"])
def test_it_learns(gain, widths):
    toy = toy_job(rows=100, bits=8, widths=widths, head=small)
    assert gain(toy, MithTrainer(epochs=8)) > 0.1
    assert [line["epoch"] for line in toy.lines] == list(range(1, 9))
    assert set(toy.lines[0]) == {"epoch", "tokens", "whole", "quantisation", "contrast", "distillation"}


def test_both_modalities_have_one_set_of_concepts_and_meet_the_codes_of_all_rows(monkeypatch):
    toy, seen = toy_job(rows=40, widths=TOKENS, head=small), []
    terms = MithTrainer.terms

    def watched(self, image, text, tables, similar):
        assert similar.shape == (40, len(image.whole))
        for role, parts in (("image", image), ("text", text)):
            for kind in ("whole", "local"):
                own = getattr(parts, kind)
                assert (tables[f"{role} {kind}"][:, None] == own).all(dim=2).any(dim=0).all()
        seen.append(len(image.whole))
        return terms(self, image, text, tables, similar)

    monkeypatch.setattr(MithTrainer, "terms", watched)
    towers = MithTrainer(epochs=2, batch=20).fit(toy.job)
    assert seen == [20] * 4
    one, other = towers.image.head.concepts, towers.text.head.concepts
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(a is not b for a, b in zip(one.parameters(), other.parameters(), strict=True))
    fresh = toy.job.towers()
    assert not torch.equal(fresh.image.head.concepts.scores.weight, fresh.text.head.concepts.scores.weight)


def test_heads_of_two_widths_are_refused():
    def head(widths, bits):
        return MithHead(widths, bits, width=64 if widths["pooled"] == 24 else 128)

    with pytest.raises(HashzooError, match="need one width, not 64 and 128; set image_head.width and text_head.width"):
        MithTrainer(epochs=1).fit(toy_job(rows=20, head=head).job)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"temperature": 0.0}, "temperature is a number over 0"), ({"mix": 1.5}, "mix is a share from 0 to 1, not 1.5")],
)
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        MithTrainer(**settings)
