"""From names to classes and settings; whose fault a wrong one is."""

from __future__ import annotations

import pytest
from helpers import HERE

from hashzoo import zoo
from hashzoo.errors import HashzooError
from hashzoo.recipe import LITE, build, check_used, pair_of, parse_encoders
from hashzoo.settings import parse_assignments

TINY = {"image": "tiny", "text": "bow"}


def recipe_of(name: str, *settings: str, encoders: dict[str, str] = TINY):
    return build(zoo.load(), name, encoders, parse_assignments(settings, ["toy", "fragile", "random"]))


def test_every_setting_has_a_value_and_an_origin(tiny):
    settings = recipe_of("toy", "trainer.lr=0.5", "toy.loss.balance=0", "random.trainer.epochs=9").settings()
    assert settings["trainer.lr"] == {"value": 0.5, "origin": "user"}
    assert settings["loss.balance"] == {"value": 0.0, "origin": "user"}
    assert settings["trainer.epochs"] == {"value": 2, "origin": "method"}
    assert settings["loss.quantisation"] == {"value": 0.1, "origin": "default"}
    assert settings["image.frozen"] == {"value": True, "origin": "default"}
    assert list(settings) == sorted(settings)
    assert not any(name.endswith((".widths", ".bits", ".modality")) for name in settings)


def test_a_method_without_a_loss_has_no_settings_of_one(tiny):
    recipe = recipe_of("fragile")
    assert "loss" not in recipe.sections
    assert [plugin.name for plugin in recipe.plugins()] == ["hashzoo", "tiny"]


def test_the_recipes_settings_of_an_encoder_are_for_that_encoder(site, tiny):
    site.write(
        "hashzoo-other",
        "other",
        "from hashzoo.plugin import Method, Part, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_encoders():\n    return [Part('second', 'hashzoo_tiny.parts:Tiny', '')]\n"
        "@hookimpl\ndef hashzoo_methods():\n"
        "    return [Method('bright', 'tiny', 'bow', 'pairwise', settings={'image.gain': 3.0, 'image.frozen': False})]",
    )
    with_its_own = recipe_of("bright")
    with_another = recipe_of("bright", encoders={"image": "second", "text": "bow"})
    assert with_its_own.settings()["image.gain"] == {"value": 3.0, "origin": "method"}
    assert with_another.settings()["image.gain"] == {"value": 1.0, "origin": "default"}
    assert with_another.frozen["image"].value is False
    assert with_its_own.encoder("image").gain == 3.0


def test_whether_an_encoder_is_frozen_can_be_set(tiny):
    recipe = recipe_of("toy", "image.frozen=false")
    assert (recipe.frozen["image"].value, recipe.frozen["text"].value) == (False, True)
    with pytest.raises(HashzooError, match=r"image\.frozen is true or false"):
        recipe_of("toy", "image.frozen=maybe")


def test_a_setting_that_no_method_has_is_refused(tiny):
    recipes = [recipe_of("toy"), recipe_of("random")]
    check_used(parse_assignments(["trainer.lr=1", "dataset.size=3", "image.frozen=true"], []), recipes)
    with pytest.raises(HashzooError, match=r"no method asked for has the setting 'trainer.epoch'; did you mean") as e:
        check_used(parse_assignments(["trainer.epoch=1"], []), recipes)
    assert "trainer.epochs" in str(e.value)
    with pytest.raises(
        HashzooError, match=r"GradientTrainer has no setting 'trainer.epoch'; did you mean trainer.epochs"
    ):
        recipe_of("toy", "toy.trainer.epoch=1")


@pytest.mark.parametrize(
    ("spec", "pair"),
    [
        ("lite", LITE),
        ("paper", TINY),
        ("tiny+minilm", {"image": "tiny", "text": "minilm"}),
        ("tiny", {"image": "tiny", "text": "minilm"}),
        ("bow", {"image": "lite0", "text": "bow"}),
        ("clip:ViT-B-16/openai", {"image": "clip:ViT-B-16/openai", "text": "clip:ViT-B-16/openai"}),
    ],
)
def test_pairs_of_encoders(spec, pair, tiny):
    known = zoo.load()
    assert parse_encoders(spec, known) == [spec]
    assert pair_of(spec, known.find("method", "toy")[1], known) == pair


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("lite,,paper", "--encoders has an empty entry"),
        ("", "--encoders has an empty entry"),
        ("lite,lite", "--encoders names something twice"),
        ("lite1+bow", "no encoder is called 'lite1'; did you mean lite0?"),
        ("lite0+", "no encoder is called ''"),
        ("timmm:resnet18", "no encoder is called 'timmm'; did you mean timm?"),
    ],
)
def test_what_is_no_list_of_encoders(spec, said, tiny):
    with pytest.raises(HashzooError) as refused:
        parse_encoders(spec, zoo.load())
    assert said in str(refused.value)


def test_three_encoders_are_no_pair(tiny):
    known = zoo.load()
    with pytest.raises(HashzooError, match="names 3 encoders; write IMAGE\\+TEXT"):
        pair_of("tiny+bow+bow", known.find("method", "toy")[1], known)


def test_the_two_halves_of_a_pair_cannot_change_places(tiny):
    with pytest.raises(HashzooError, match="'bow' encodes texts, not images; write IMAGE\\+TEXT"):
        recipe_of("toy", encoders={"image": "bow", "text": "tiny"}).encoder("image")


def test_what_follows_the_colon_is_the_first_argument(tiny):
    recipe = recipe_of("toy", "image.weights=random", encoders={"image": "timm:test_resnet.r160_in1k", "text": "bow"})
    encoder = recipe.encoder("image")
    assert encoder.name == "timm:test_resnet.r160_in1k"
    assert "image.name" not in recipe.settings()


def test_a_value_that_a_constructor_refuses_is_one_sentence(tiny):
    recipe = recipe_of("toy", "image_head.activation=relu")
    with pytest.raises(
        HashzooError, match="HashHead refuses its settings: activation is tanh or none, not 'relu'"
    ) as e:
        recipe.sections["image_head"].build(widths={"pooled": 4}, bits=8)
    assert e.value.exit_code == 2


def test_a_constructor_that_breaks_is_its_plugins_fault(tiny):
    tiny.install(HERE / "plugins_working" / "faulty")
    recipe = recipe_of("toy", encoders={"image": "breaks", "text": "bow"})
    with pytest.raises(
        HashzooError, match=r"plugin 'faulty' .* Breaks cannot be built: KeyError: 'no such layer'"
    ) as e:
        recipe.encoder("image")
    assert e.value.exit_code == 1


def test_an_encoder_that_does_not_say_what_it_encodes(tiny):
    tiny.install(HERE / "plugins_working" / "faulty")
    recipe = recipe_of("toy", encoders={"image": "unsaid", "text": "bow"})
    with pytest.raises(HashzooError, match="Unsaid does not say what it encodes") as e:
        recipe.encoder("image")
    assert e.value.exit_code == 1


def test_an_encoder_that_takes_nothing_after_a_colon(tiny):
    tiny.install(HERE / "plugins_working" / "faulty")
    with pytest.raises(HashzooError, match="encoder 'breaks' takes nothing after a colon; leave out ':x'"):
        recipe_of("toy", encoders={"image": "breaks:x", "text": "bow"})


def test_how_features_are_computed_can_be_set(tiny):
    recipe = recipe_of("toy", "image.precision=bfloat16", "text.stored=float16")
    chosen = {name: s for name, s in recipe.settings().items() if name.endswith(("precision", "stored"))}
    assert {name for name, setting in chosen.items() if setting["origin"] == "user"} == {
        "image.precision",
        "text.stored",
    }
    assert chosen["image.stored"] == {"value": "float32", "origin": "default"}
    assert chosen["text.stored"]["value"] == "float16"
    with pytest.raises(HashzooError, match=r"image\.stored is float32 or float16, not 'float8'"):
        recipe_of("toy", "image.stored=float8")
