"""
The service seen from outside: health, status, metrics, the live stream and the dashboard.

Does not know PostgreSQL.

- `_app`: the routes. `_server`: Hypercorn as a child of our nursery. `_connections`: every send has an end.
- `_schema`: every message that is read. `_book_messages`: books of the live stream. `_stats`: its numbers.
- `_health`: what is wrong. `_problems`: what to know and to do. `_problem_text`: the words for it.
- `_current_books`: books that are exact or unknown now. `_status`: the JSON for operators. `_metrics`:
  Prometheus.
- `_query_cache`, `_data_health`, `_coverage`: questions to the recording. `_pages`: the built dashboard.
- `_jsonschema`: the messages for the frontend. `_times`: times as text.
"""

from collector.web._app import make_app
from collector.web._server import serve_web

__all__ = [
    "make_app",
    "serve_web",
]
