"""The page: pure functions from a view to HTML, and the NiceGUI elements that show and renew it."""
