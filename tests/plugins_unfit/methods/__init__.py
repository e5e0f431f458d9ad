"""Methods that are wrong in one way each, and one in good order."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "method:diverges": "check_it_trains_and_encodes",
    "method:unseeded": "check_same_seed_gives_same_codes",
    "method:own-seed": "check_other_seed_gives_other_codes",
    "method:pads": "check_bits_are_honoured",
    "method:alters-labels": "check_fit_leaves_its_rows_alone",
    "method:counts-from-zero": "check_log_counts_the_epochs",
    "method:logs-nothing": "check_log_counts_the_epochs",
    "method:logs-infinity": "check_log_counts_the_epochs",
    "method:own-modules": "check_saved_towers_give_the_same_codes",
    "method:forgets-state": "check_saved_towers_give_the_same_codes",
    "method:batch-statistics": "check_a_row_is_encoded_by_itself",
    "method:noise": "check_a_row_is_encoded_by_itself",
    "method:environment": "check_fit_leaves_the_process_as_it_was",
    "method:needs-val": "check_it_trains_without_validation_rows",
    "method:descends-on-val": "check_validation_rows_are_not_descended_on",
    "method:reads-queries": "check_fit_takes_nothing_from_the_data_set",
    "method:builds-data": "check_fit_takes_nothing_from_the_data_set",
    "method:transductive": "check_fit_is_unmoved_by_other_rows",
    "method:constant": "check_codes_do_not_collapse",
    "method:copies": "check_texts_do_not_get_the_codes_of_their_images",
    "method:learns-the-opposite": "check_it_beats_random_codes",
    "method:threads": "check_threads_do_not_change_the_metric",
}
HEADS = {
    "pads": "Padded",
    "forgets-state": "Forgetful",
    "batch-statistics": "Centred",
    "noise": "Noisy",
    "copies": "Copying",
}
TRAINERS = {
    "diverges": "Diverges",
    "unseeded": "Unseeded",
    "own-seed": "OwnSeed",
    "alters-labels": "AltersLabels",
    "counts-from-zero": "CountsFromZero",
    "logs-nothing": "LogsNothing",
    "logs-infinity": "LogsInfinity",
    "own-modules": "OwnModules",
    "environment": "Environment",
    "needs-val": "NeedsVal",
    "descends-on-val": "DescendsOnVal",
    "reads-queries": "ReadsQueries",
    "builds-data": "BuildsData",
    "transductive": "Transductive",
    "constant": "Constant",
    "learns-the-opposite": "LearnsTheOpposite",
    "threads": "Threads",
}


@hookimpl
def hashzoo_trainers():
    return [
        Part("quick", "methods.trainers:Quick", "in good order, and over in a moment"),
        Part("staged", "methods.trainers:Staged", "in good order, in two stages; no method uses it"),
        *(Part(name, f"methods.trainers:{target}", target) for name, target in TRAINERS.items()),
    ]


@hookimpl
def hashzoo_methods():
    names = {name for subject in CAUGHT_BY for kind, name in [subject.split(":")] if kind == "method"}
    return [_method(name) for name in ("fit", *sorted(names))]


def _method(name):
    head = f"methods.heads:{HEADS.get(name, 'Linear')}"
    trainer = name if name in TRAINERS else "quick"
    return Method(name, "lite0", "bow", "pairwise", trainer, image_head=head, text_head=head, summary=name)
