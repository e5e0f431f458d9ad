"""Indexes that are wrong in one way each, and two in good order."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "index:misnamed": "check_kind_is_the_registered_name",
    "index:no-index": "check_kind_is_the_registered_name",
    "index:first-word": "check_a_length_is_held_or_refused_at_once",
    "index:no-such-length": "check_a_length_is_held_or_refused_at_once",
    "index:one-byte": "check_a_length_is_held_or_refused_at_once",
    "index:inner-product": "check_hits_are_in_order_with_true_distances",
    "index:unsorted": "check_hits_are_in_order_with_true_distances",
    "index:unpadded": "check_hits_are_in_order_with_true_distances",
    "index:padded-high": "check_hits_are_in_order_with_true_distances",
    "index:ties-as-added": "check_the_nearest_are_found",
    "index:one-bucket": "check_the_nearest_are_found",
    "index:narrow-ids": "check_ids_are_those_given",
    "index:stores-floats": "check_ids_are_those_given",
    "index:appends": "check_an_added_id_is_replaced",
    "index:forgetful": "check_removed_codes_are_gone",
    "index:forgiving": "check_removed_codes_are_gone",
    "index:unforgiving": "check_removed_codes_are_gone",
    "index:loses-settings": "check_a_loaded_index_is_the_same",
    "index:loads-read-only": "check_a_loaded_index_is_the_same",
    "index:trusting": "check_damaged_files_are_refused",
    "index:keeps-codes": "check_arguments_are_neither_changed_nor_kept",
    "index:shared-candidates": "check_a_query_is_always_answered_alike",
    "index:scratch": "check_a_query_is_always_answered_alike",
    "index:shared-cache": "check_indexes_share_nothing",
}


@hookimpl
def hashzoo_indexes():
    return [
        Part("fit", "indexes.parts:Fit", "in good order"),
        Part("fit-bytes", "indexes.parts:FitBytes", "in good order, approximate, for whole bytes alone"),
        Part("misnamed", "indexes.parts:Misnamed", "has the kind of another"),
        Part("no-index", "indexes.parts:NoIndex", "is no subclass of Index"),
        Part("first-word", "indexes.parts:FirstWord", "compares 64 bits"),
        Part("no-such-length", "indexes.parts:NoSuchLength", "fails in its own way on lengths that it cannot hold"),
        Part("one-byte", "indexes.parts:OneByte", "counts distances in a byte"),
        Part("inner-product", "indexes.parts:InnerProduct", "gives twice the distance"),
        Part("unsorted", "indexes.parts:Unsorted", "gives its hits in no order"),
        Part("unpadded", "indexes.parts:Unpadded", "gives fewer columns than were asked for"),
        Part("padded-high", "indexes.parts:PaddedHigh", "pads distances with the largest integer"),
        Part("ties-as-added", "indexes.parts:TiesAsAdded", "breaks ties by the order of additions"),
        Part("one-bucket", "indexes.parts:OneBucket", "looks at codes that begin as the query does"),
        Part("narrow-ids", "indexes.parts:NarrowIds", "keeps ids in 32 bits"),
        Part("stores-floats", "indexes.parts:StoresFloats", "stores ids as floats"),
        Part("appends", "indexes.parts:Appends", "keeps what should be replaced"),
        Part("forgetful", "indexes.parts:Forgetful", "finds what was removed"),
        Part("forgiving", "indexes.parts:Forgiving", "removes what it knows and says nothing of the rest"),
        Part("unforgiving", "indexes.parts:Unforgiving", "never finds again what was removed once"),
        Part("loses-settings", "indexes.parts:LosesSettings", "does not hand its setting on"),
        Part("loads-read-only", "indexes.parts:LoadsReadOnly", "cannot be changed after a load"),
        Part("trusting", "indexes.parts:Trusting", "loads without looking at digests"),
        Part("keeps-codes", "indexes.parts:KeepsCodes", "keeps the caller's array"),
        Part("shared-candidates", "indexes.parts:SharedCandidates", "a query sees the candidates of all"),
        Part("scratch", "indexes.parts:Scratch", "threads write to one buffer"),
        Part("shared-cache", "indexes.parts:SharedCache", "all indexes answer from one cache"),
    ]
