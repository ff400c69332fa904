"""OpenKBP: head-and-neck CT, four organs at risk and the dose."""
