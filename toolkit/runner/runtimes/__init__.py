"""One module per runtime, each as `toolkit.runner.session.Runtime` says."""
