package bench;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.WindowStore;

/** The same job as `bench/yahoo/app.py`: views of ads per campaign and ten seconds, repeats left out. */
final class Ads implements Processor<byte[], byte[], byte[], byte[]> {
    private static final Duration SIZE = Duration.ofSeconds(10);
    private static final Duration TELL = Duration.ofSeconds(1);
    private static final ObjectReader AD_EVENT = Json.reader(AdEvent.class);
    private static final ObjectWriter COUNT = Json.writer(Count.class);
    private static final Map<String, String> CAMPAIGNS = Lookup.read("BENCH_CAMPAIGNS");

    record AdEvent(
        @JsonProperty("event_id") String eventId,
        @JsonProperty("user_id") String userId,
        @JsonProperty("page_id") String pageId,
        @JsonProperty("ad_id") String adId,
        @JsonProperty("ad_type") String adType,
        @JsonProperty("event_type") String eventType,
        @JsonProperty("event_time") long eventTime,
        @JsonProperty("ip_address") String ipAddress) {}

    record Count(
        @JsonProperty("campaign_id") String campaignId,
        int partition,
        @JsonProperty("window_start") long windowStart,
        @JsonProperty("window_end") long windowEnd,
        long views) {}

    private ProcessorContext<byte[], byte[]> context;
    private Seen seen;
    private Counts views;

    static Topology topology() {
        Serde<byte[]> bytes = Serdes.ByteArray();
        return new Topology()
            .addSource("raw", bytes.deserializer(), bytes.deserializer(), Main.topic("ads.raw"))
            .addProcessor("ads", Ads::new, "raw")
            .addStateStore(Seen.builder(), "ads")
            .addStateStore(Counts.builder(SIZE), "ads")
            .addSink("counts", Main.topic("ads.counts"), bytes.serializer(), bytes.serializer(), "ads")
            .addSink("dead", Main.topic("ads.dead-letters"), bytes.serializer(), bytes.serializer(), "ads");
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        seen = new Seen(context.getStateStore(Seen.STORE));
        views = new Counts(context.getStateStore(Counts.STORE), SIZE);
        context.schedule(TELL, PunctuationType.WALL_CLOCK_TIME, this::tell);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        AdEvent event;
        try {
            event = AD_EVENT.readValue(record.value());
        } catch (IOException | IllegalArgumentException exc) {
            context.forward(record, "dead");
            return;
        }
        if (event.eventId() == null || event.eventType() == null) {
            context.forward(record, "dead");
            return;
        }
        if (seen.first(event.eventId(), event.eventTime()) && event.eventType().equals("view")) {
            String campaign = CAMPAIGNS.get(event.adId());
            if (campaign != null) {
                views.add(campaign, event.eventTime());
            }
        }
    }

    private void tell(long now) {
        int partition = context.taskId().partition();
        views.tell(
            (campaign, start, count) -> {
                long second = start / 1000;
                Count value = new Count(campaign, partition, second, second + SIZE.toSeconds(), count);
                byte[] key = campaign.getBytes(StandardCharsets.UTF_8);
                context.forward(new Record<>(key, Json.write(COUNT, value), now), "counts");
            });
    }
}
