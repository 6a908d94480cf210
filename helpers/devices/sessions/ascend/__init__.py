"""Parts of the Ascend session, on `acl` alone, which comes with CANN and is imported when a model is opened."""
