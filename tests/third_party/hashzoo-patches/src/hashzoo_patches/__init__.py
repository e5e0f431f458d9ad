"""The hashzoo plugin: an image encoder, and a method that reads its named outputs."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_encoders():
    """Offer the encoder."""
    return [
        Part(
            "patches", "hashzoo_patches.encoder:Patches", "soft counts of 96 colour patches of 6x6 pixels, in quadrants"
        )
    ]


@hookimpl
def hashzoo_methods():
    """Offer the method."""
    return [
        Method(
            "patch-pyramid",
            image="patches",
            text="bow",
            loss="pairwise",
            image_head="hashzoo_patches.head:PyramidHead",
            image_outputs=("whole", "grid"),
            summary="a linear map of each level of a spatial pyramid of patches, on the pairwise likelihood",
            paper="after Coates, Lee and Ng, AISTATS 2011, and Lazebnik, Schmid and Ponce, CVPR 2006",
            status="reconstruction",
        )
    ]
