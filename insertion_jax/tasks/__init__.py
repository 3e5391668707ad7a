"""Problems to train on: data, vocabulary, metrics and pictures of each."""
