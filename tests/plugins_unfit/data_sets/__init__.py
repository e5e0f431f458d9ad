"""Data sets that are wrong in one way each; in good order are one, one with variants, and three that are not there."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "dataset:prepares-defaults": "check_prepare_takes_the_settings",
    "dataset:without-archive": "check_dataset_can_be_opened",
    "dataset:trains-on-queries": "check_labels_classes_and_splits_agree",
    "dataset:misnamed": "check_name_is_what_users_type",
    "dataset:without-licence": "check_licence_is_said",
    "dataset:nameless-class": "check_classes_are_words",
    "dataset:unused-class": "check_every_class_has_rows",
    "dataset:bare-row": "check_every_training_row_has_a_label",
    "dataset:lonely-query": "check_every_query_has_something_relevant",
    "dataset:torn-group": "check_groups_stay_together",
    "dataset:grey": "check_pictures_are_rgb_and_texts_are_str",
    "dataset:restless": "check_same_row_gives_the_same_item",
    "dataset:shuffled": "check_second_instance_has_the_same_rows",
    "dataset:repeated": "check_no_query_is_repeated_elsewhere",
    "dataset:fingerprint-of-the-day": "check_fingerprint_is_stable",
    "dataset:fingerprint-of-texts": "check_fingerprint_follows_content",
    "dataset:fingerprint-of-seed": "check_fingerprint_follows_settings",
    "dataset:reseeds-numpy": "check_reading_leaves_random_numbers_alone",
}


@hookimpl
def hashzoo_datasets():
    return [
        Part("fit", "data_sets.parts:Fit", "in good order"),
        Part("variants", "data_sets.parts:Variants", "in good order, in several variants"),
        Part("fetches-when-opened", "data_sets.parts:FetchesWhenOpened", "in good order, and elsewhere"),
        Part("prepares-when-opened", "data_sets.parts:PreparesWhenOpened", "in good order, once it is prepared"),
        Part("asks-to-be-prepared", "data_sets.parts:AsksToBePrepared", "in good order, once it is prepared"),
        Part("prepares-defaults", "data_sets.parts:PreparesDefaults", "prepare takes no settings"),
        Part("without-archive", "data_sets.parts:WithoutArchive", "cannot be opened"),
        Part("trains-on-queries", "data_sets.parts:TrainsOnQueries", "a query row is a training row"),
        Part("misnamed", "data_sets.parts:Fit", "it calls itself something else"),
        Part("without-licence", "data_sets.parts:WithoutLicence", "nobody made it"),
        Part("nameless-class", "data_sets.parts:NamelessClass", "a class is called nothing"),
        Part("unused-class", "data_sets.parts:UnusedClass", "a class has no rows"),
        Part("bare-row", "data_sets.parts:BareRow", "a training row has no label"),
        Part("lonely-query", "data_sets.parts:LonelyQuery", "nothing is relevant to a query"),
        Part("torn-group", "data_sets.parts:TornGroup", "a group is on both sides of the split"),
        Part("grey", "data_sets.parts:Grey", "a picture is grey"),
        Part("restless", "data_sets.parts:Restless", "texts count how often they are read"),
        Part("shuffled", "data_sets.parts:Shuffled", "another split for every process"),
        Part("repeated", "data_sets.parts:Repeated", "a query stands in the database too"),
        Part("fingerprint-of-the-day", "data_sets.parts:FingerprintOfTheDay", "another fingerprint at every call"),
        Part("fingerprint-of-texts", "data_sets.parts:FingerprintOfTexts", "pictures are not in the fingerprint"),
        Part("fingerprint-of-seed", "data_sets.parts:FingerprintOfSeed", "a setting is not in the fingerprint"),
        Part("reseeds-numpy", "data_sets.parts:ReseedsNumpy", "numpy's random numbers start again"),
    ]
