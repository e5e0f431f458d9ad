"""Online methods that are wrong in one way each, and one in good order."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "online:gives-nothing": "check_partial_fit_gives_towers",
    "online:stands-still": "check_each_chunk_changes_the_towers",
    "online:looks-back": "check_old_chunks_are_not_seen_again",
    "online:all-codes": "check_learned_codes_fit_their_rows",
    "online:hoards": "check_state_does_not_grow_with_chunks",
}
TRAINERS = {
    "steady": "Steady",
    "gives-nothing": "GivesNothing",
    "stands-still": "StandsStill",
    "looks-back": "LooksBack",
    "all-codes": "AllCodes",
    "hoards": "Hoards",
}


@hookimpl
def hashzoo_trainers():
    return [Part(name, f"streams.trainers:{target}", target) for name, target in TRAINERS.items()]


@hookimpl
def hashzoo_methods():
    return [Method(name, "lite0", "bow", "", name, image_head="", text_head="", summary=name) for name in TRAINERS]
