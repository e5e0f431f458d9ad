"""Losses that are wrong in one way each, and three in good order."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "loss:needs-an-argument": "check_loss_can_be_built",
    "loss:returns-a-number": "check_terms_are_named_finite_scalars",
    "loss:sixteen-bits": "check_terms_at_usual_code_lengths",
    "loss:remembers-the-first-batch": "check_batches_may_differ_in_size",
    "loss:deaf-to-texts": "check_gradients_reach_both_towers",
    "loss:mean-over-others": "check_finite_where_no_rows_share_a_label",
    "loss:mean-over-dissimilar": "check_finite_where_all_rows_share_a_label",
    "loss:shares-of-labels": "check_finite_where_a_row_has_no_label",
    "loss:root-of-squares": "check_finite_where_outputs_are_zero",
    "loss:variance-over-rows": "check_finite_for_a_batch_of_one",
    "loss:writes-into-labels": "check_outputs_and_batch_are_unchanged",
    "loss:wrong-way-round": "check_descent_brings_relevant_pairs_nearer",
    "loss:unseeded": "check_same_seed_gives_same_terms",
    "loss:seeds": "check_loss_seeds_no_generator",
}


@hookimpl
def hashzoo_losses():
    return [
        Part("fit", "losses.parts:Fit", "in good order"),
        Part("fixed-centres", "losses.parts:FixedCentres", "in good order, with a code of its own for each class"),
        Part("code-table", "losses.parts:CodeTable", "in good order, with state that grows"),
        Part("needs-an-argument", "losses.parts:NeedsAnArgument", "a margin without a default"),
        Part("returns-a-number", "losses.parts:ReturnsANumber", "one number without a name"),
        Part("sixteen-bits", "losses.parts:SixteenBits", "weights of sixteen bits, whatever the code length"),
        Part("remembers-the-first-batch", "losses.parts:RemembersTheFirstBatch", "state of the first batch's shape"),
        Part("deaf-to-texts", "losses.parts:DeafToTexts", "texts are taken as they are"),
        Part(
            "mean-over-others", "losses.parts:MeanOverOthers", "the mean over similar rows, of which there may be none"
        ),
        Part("mean-over-dissimilar", "losses.parts:MeanOverDissimilar", "the same over dissimilar rows"),
        Part("shares-of-labels", "losses.parts:SharesOfLabels", "divided by the number of labels of a row"),
        Part("root-of-squares", "losses.parts:RootOfSquares", "a root, whose slope at zero is infinite"),
        Part("variance-over-rows", "losses.parts:VarianceOverRows", "the variance over rows, divided by one less"),
        Part("writes-into-labels", "losses.parts:WritesIntoLabels", "labels are scaled in place"),
        Part("wrong-way-round", "losses.parts:WrongWayRound", "similar rows are driven apart"),
        Part("unseeded", "losses.parts:Unseeded", "takes its randomness from the operating system"),
        Part("seeds", "losses.parts:Seeds", "the same noise in every step"),
    ]
