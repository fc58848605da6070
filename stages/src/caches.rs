//! Directories where libraries of the field keep downloads for all projects of a user.

/// The name in a pipeline, the variable that moves the directory, and its default place below the
/// home directory.
pub const ALL: &[(&str, &str, &str)] = &[
    ("huggingface", "HF_HOME", ".cache/huggingface"),
    ("torch", "TORCH_HOME", ".cache/torch"),
    ("keras", "KERAS_HOME", ".keras"),
    (
        "tensorflow-datasets",
        "TFDS_DATA_DIR",
        "tensorflow_datasets",
    ),
    ("scikit-learn", "SCIKIT_LEARN_DATA", "scikit_learn_data"),
    ("nltk", "NLTK_DATA", "nltk_data"),
    ("triton", "TRITON_CACHE_DIR", ".triton/cache"),
];
