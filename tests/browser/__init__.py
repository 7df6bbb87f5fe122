"""The dashboard in a real browser, over the real service and simulator."""
