"""Encoders that are wrong in one way each, and two in good order."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "encoder:uninstalled": "check_encoder_can_be_built",
    "encoder:unsaid": "check_modality_and_dim_are_said",
    "encoder:keeps-the-shape": "check_prepare_gives_one_shape",
    "encoder:double": "check_features_are_float32_rows",
    "encoder:mean-of-letters": "check_odd_items_have_finite_features",
    "encoder:promises-more": "check_named_outputs_have_promised_widths",
    "encoder:pools-otherwise": "check_pooled_output_is_the_feature_vector",
    "encoder:centres-batches": "check_rows_are_independent",
    "encoder:constant": "check_different_items_have_different_features",
    "encoder:cuts-anywhere": "check_prepare_is_repeatable",
    "encoder:noisy": "check_forward_is_repeatable",
    "encoder:writes-into-pictures": "check_items_and_inputs_are_unchanged",
    "encoder:drawn": "check_second_encoder_gives_the_same_features",
    "encoder:unwritable-card": "check_card_is_plain_json",
    "encoder:card-of-the-day": "check_second_encoder_has_the_same_card",
    "encoder:hides-random-weights": "check_card_marks_random_weights",
    "encoder:forgets-a-setting": "check_card_follows_settings",
    "encoder:forgets-its-weights": "check_card_follows_weights",
    "encoder:draws-globally": "check_encoder_leaves_random_numbers_alone",
    "encoder:lets-nothing-through": "check_encoder_can_be_trained_along",
}


@hookimpl
def hashzoo_encoders():
    return [
        Part("fit", "encoders.parts:Fit", "in good order"),
        Part("fit-for-both", "encoders.parts:FitForBoth", "in good order, for pictures and for texts"),
        Part("uninstalled", "encoders.parts:Uninstalled", "its weights are not there"),
        Part("unsaid", "encoders.parts:Unsaid", "of a modality that there is not"),
        Part("keeps-the-shape", "encoders.parts:KeepsTheShape", "wide pictures stay wide"),
        Part("double", "encoders.parts:Double", "features in float64"),
        Part("mean-of-letters", "encoders.parts:MeanOfLetters", "a mean over letters, of which there may be none"),
        Part("promises-more", "encoders.parts:PromisesMore", "a named output of another width"),
        Part("pools-otherwise", "encoders.parts:PoolsOtherwise", "two different feature vectors"),
        Part("centres-batches", "encoders.parts:CentresBatches", "features less their mean over the batch"),
        Part("constant", "encoders.parts:Constant", "the same for every picture"),
        Part("cuts-anywhere", "encoders.parts:CutsAnywhere", "random crops"),
        Part("noisy", "encoders.parts:Noisy", "a little noise in every feature"),
        Part("writes-into-pictures", "encoders.parts:WritesIntoPictures", "a black corner in every picture"),
        Part("drawn", "encoders.parts:Drawn", "parameters from the operating system"),
        Part("unwritable-card", "encoders.parts:UnwritableCard", "a torch.dtype in the card"),
        Part("card-of-the-day", "encoders.parts:CardOfTheDay", "another card at every call"),
        Part("hides-random-weights", "encoders.parts:HidesRandomWeights", "its card does not say random"),
        Part("forgets-a-setting", "encoders.parts:ForgetsASetting", "a setting is not in the card"),
        Part("forgets-its-weights", "encoders.parts:ForgetsItsWeights", "no digest of parameters in the card"),
        Part("draws-globally", "encoders.parts:DrawsGlobally", "takes from Python's random numbers"),
        Part("lets-nothing-through", "encoders.parts:LetsNothingThrough", "no gradients"),
    ]
