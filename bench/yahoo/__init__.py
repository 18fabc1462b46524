"""The ad events of the Yahoo Streaming Benchmark, with repeats: a workload that is not ours.

Events are JSON with user_id, page_id, ad_id, ad_type, event_type, event_time (milliseconds) and ip_address;
we add an event_id, and send 5 % of them twice. The job: leave repeats out, take the views, leave what is
needed of them, join each ad with its campaign (a static map of 100 campaigns with ten ads each), count per
campaign and ten seconds of event time. As everywhere in the bench the counts are per source partition.
"""
