"""
The service seen from outside: health, status, metrics, the live stream and the dashboard.

    schema      every message that is read        health    what is wrong, and since when
    messages    the live stream's books           stats     its numbers, once a second
    books       the current books                 problems  what to know and to do, worst first
    advice      the words for it                  status    the JSON for operators
    desk        questions to the database         metrics   the same for Prometheus
    data_health is the recording good             coverage  when books were exact
    pages       the dashboard as it was built     app       the routes
    server      Hypercorn as a child of our nursery

It reads the recorder's state and writes nothing in it but the tick: the sample of the message rate, and how
late it came. It must not know PostgreSQL or the exchange. All of its tasks live below `serve_web` and
`run_stats_ticks`, which the service's tree starts and ends.
"""
