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
        Part("fit", "datasets.parts:Fit", "in good order"),
        Part("variants", "datasets.parts:Variants", "in good order, in several variants"),
        Part("fetches-when-opened", "datasets.parts:FetchesWhenOpened", "in good order, and elsewhere"),
        Part("prepares-when-opened", "datasets.parts:PreparesWhenOpened", "in good order, once it is prepared"),
        Part("asks-to-be-prepared", "datasets.parts:AsksToBePrepared", "in good order, once it is prepared"),
        Part("prepares-defaults", "datasets.parts:PreparesDefaults", "prepare takes no settings"),
        Part("without-archive", "datasets.parts:WithoutArchive", "cannot be opened"),
        Part("trains-on-queries", "datasets.parts:TrainsOnQueries", "a query row is a training row"),
        Part("misnamed", "datasets.parts:Fit", "it calls itself something else"),
        Part("without-licence", "datasets.parts:WithoutLicence", "nobody made it"),
        Part("nameless-class", "datasets.parts:NamelessClass", "a class is called nothing"),
        Part("unused-class", "datasets.parts:UnusedClass", "a class has no rows"),
        Part("bare-row", "datasets.parts:BareRow", "a training row has no label"),
        Part("lonely-query", "datasets.parts:LonelyQuery", "nothing is relevant to a query"),
        Part("grey", "datasets.parts:Grey", "a picture is grey"),
        Part("restless", "datasets.parts:Restless", "texts count how often they are read"),
        Part("shuffled", "datasets.parts:Shuffled", "another split for every process"),
        Part("repeated", "datasets.parts:Repeated", "a query stands in the database too"),
        Part("fingerprint-of-the-day", "datasets.parts:FingerprintOfTheDay", "another fingerprint at every call"),
        Part("fingerprint-of-texts", "datasets.parts:FingerprintOfTexts", "pictures are not in the fingerprint"),
        Part("fingerprint-of-seed", "datasets.parts:FingerprintOfSeed", "a setting is not in the fingerprint"),
        Part("reseeds-numpy", "datasets.parts:ReseedsNumpy", "numpy's random numbers start again"),
    ]
