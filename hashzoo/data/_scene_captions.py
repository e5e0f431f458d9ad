"""Captions of drawn scenes: paraphrases, omissions and clutter, and nothing that the picture contradicts."""

from __future__ import annotations

from hashzoo.data._scene_world import KINDS, Dice, Scene, Thing

# The first word is the common one; how often another is taken grows with the difficulty.
NOUNS = {
    "balloon": ("balloon", "party balloon", "helium balloon", "inflatable"),
    "boat": ("boat", "sailing boat", "yacht", "dinghy", "vessel"),
    "butterfly": ("butterfly", "winged insect", "moth", "flutterer"),
    "car": ("car", "automobile", "motor car", "hatchback", "vehicle"),
    "fish": ("fish", "little fish", "finned creature", "swimmer"),
    "flower": ("flower", "blossom", "bloom", "garden plant"),
    "house": ("house", "cottage", "cabin", "home", "dwelling"),
    "kite": ("kite", "paper kite", "flying diamond", "toy on a string"),
    "mushroom": ("mushroom", "toadstool", "fungus"),
    "rocket": ("rocket", "spaceship", "spacecraft", "missile"),
    "tree": ("tree", "leafy tree", "oak", "lime"),
    "umbrella": ("umbrella", "parasol", "brolly", "sunshade"),
}
SHADES = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "tangerine", "amber"),
    "yellow": ("yellow", "golden", "lemon"),
    "green": ("green", "emerald", "leaf-green"),
    "blue": ("blue", "azure", "cobalt"),
    "purple": ("purple", "violet", "lilac"),
    "pink": ("pink", "rosy", "blush"),
    "white": ("white", "ivory", "pale"),
}
PATTERN_WORDS = {
    "striped": ("striped", "stripy", "banded", "lined"),
    "spotted": ("spotted", "dotted", "polka-dot", "speckled"),
    "checked": ("checked", "chequered", "plaid", "tartan"),
}
PATTERN_TAILS = {
    "striped": ("with stripes", "in stripes", "with bands"),
    "spotted": ("with spots", "with dots", "covered in dots"),
    "checked": ("with checks", "in a check pattern", "with little squares"),
}
WHERE = {
    "sea": ("by the sea", "at the seaside", "near the ocean", "above the waves", "off the coast"),
    "meadow": ("in a meadow", "on the grass", "in a green field", "in the pasture", "out in the country"),
    "city": ("in the city", "in town", "among tall buildings", "downtown", "in front of a skyline"),
    "desert": ("in the desert", "among the dunes", "on the sand", "in a dry land"),
    "snow": ("in the snow", "on a winter's day", "on white slopes", "in a frozen land"),
    "mountains": ("in the mountains", "below the peaks", "in the Alps", "under a rocky ridge"),
    "": ("on plain paper", "on an empty page"),
}
NIGHT = ("at night", "after dark", "by moonlight", "at midnight", "under the stars")
SKY = {
    "sun": ("in the sunshine", "with the sun out", "on a bright day"),
    "clouds": ("with clouds", "with a few clouds drifting by", "in cloudy weather"),
    "birds": ("with birds", "while some birds pass", "with far-away birds"),
}
OPENERS = ("", "", "a picture of", "a drawing of", "here we see", "look at", "this shows", "someone drew")
JOINS = ("and", "with", "next to", "together with", "plus")
CLUTTER = (
    "Made for a friend",
    "Third try",
    "How nice",
    "Sent on a Monday",
    "My favourite so far",
    "Do not lose this one",
    "Found between two letters",
    "The cat was asleep meanwhile",
    "Sorry about the coffee stain",
    "No dragon this time",
    "My bicycle is not in it",
    "Grandmother keeps a copy",
    "For the album, page nine",
    "The frame costs extra",
    "Please hang it near the piano",
)


def caption(scene: Scene, dice: Dice, difficulty: int) -> str:
    """One caption of a scene; `difficulty` is in percent. Something with a label is always mentioned."""

    def word(choices: tuple[str, ...]) -> str:
        return dice.pick(choices) if dice.percent(20 + difficulty * 7 // 10) else choices[0]

    def describe(thing: Thing) -> str:
        noun, adjectives, tail = word(NOUNS[thing.kind]), [], ""
        if dice.percent(60):
            adjectives.append(word(SHADES[thing.colour]))
        if thing.pattern and dice.percent(100 - difficulty * 11 // 20):
            if dice.percent(30):
                tail = " " + word(PATTERN_TAILS[thing.pattern])
            else:
                adjectives.insert(dice.below(len(adjectives) + 1), word(PATTERN_WORDS[thing.pattern]))
        phrase = " ".join([*adjectives, noun])
        return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}{tail}"

    things = _shuffled(scene.things, dice)
    kept = [thing for thing in things if dice.percent(100 - difficulty * 9 // 20)] or things[:1]
    phrases = [describe(thing) for thing in kept]
    if len(phrases) == 3:
        phrases = [", ".join(phrases[:2]), phrases[2]]
    core = f" {dice.pick(JOINS)} ".join(phrases)

    where = []
    if dice.percent(100 - difficulty // 2 if scene.place else 30):
        where.append(word(WHERE[scene.place]))
    if scene.night and dice.percent(100 - difficulty // 2):
        where.append(word(NIGHT))
    where += [word(SKY[item]) for item in scene.sky if dice.percent(35)]
    opening = f"{where.pop(0)}," if where and dice.percent(30) else dice.pick(OPENERS)
    sentences = [" ".join([opening, core, *where]).lstrip()]

    for _ in range(dice.below(1 + difficulty // 25)):
        aside = dice.pick(CLUTTER)
        if aside not in sentences:
            sentences.insert(dice.below(len(sentences) + 1), aside)
    if dice.percent(difficulty // 5):
        absent = dice.pick([kind for kind in KINDS if kind not in scene.labels()])
        sentences.append(f"The {absent} is on another page")  # true, and a trap for a bag of words
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _shuffled(things: tuple[Thing, ...], dice: Dice) -> list[Thing]:
    order: list[Thing] = []
    for thing in things:
        order.insert(dice.below(len(order) + 1), thing)
    return order
