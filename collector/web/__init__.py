"""
The service seen from outside: health, status, metrics, the live stream and the dashboard.

    messages    the JSON of the live stream       health    what is wrong, and since when
    status      the JSON for operators            metrics   the same for Prometheus
    app         the routes                        server    Hypercorn as a child of our nursery
    page/       the dashboard, served as it is

It reads the recorder's state and writes nothing in it but the tick: the sample of the message rate, and how
late it came. It must not know PostgreSQL or the exchange. All of its tasks live below `serve_web` and
`run_stats_ticks`, which the service's tree starts and ends.
"""
