package bench;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The same job as `agents/activity.py`. It is one processor, since the counts are per source partition: the
 * DSL would send every view through a topic first, to bring the views of a page together.
 */
final class Activity implements Processor<byte[], byte[], byte[], byte[]> {
    private static final Duration MINUTE = Duration.ofMinutes(1);
    private static final Duration TELL = Duration.ofSeconds(1);
    private static final ObjectWriter ENRICHED = Json.writer(Enriched.class);
    private static final ObjectWriter PAGE_COUNT = Json.writer(PageCount.class);

    record PageCount(
        String page,
        int partition,
        @JsonProperty("window_start") long windowStart,
        @JsonProperty("window_end") long windowEnd,
        long views) {}

    private ProcessorContext<byte[], byte[]> context;
    private Seen seen;
    private Counts views;
    private WindowStore<String, Sales> sales;

    static Topology topology() {
        Serde<byte[]> bytes = Serdes.ByteArray();
        return new Topology()
            .addSource("raw", bytes.deserializer(), bytes.deserializer(), Main.topic("activity.raw"))
            .addProcessor("activity", Activity::new, "raw")
            .addStateStore(Seen.builder(), "activity")
            .addStateStore(Counts.builder(MINUTE), "activity")
            .addStateStore(Sales.builder(), "activity")
            .addSink("enriched", Main.topic("activity.enriched"), bytes.serializer(), bytes.serializer(), "activity")
            .addSink("counts", Main.topic("activity.page-counts"), bytes.serializer(), bytes.serializer(), "activity")
            .addSink("dead", Main.topic("activity.dead-letters"), bytes.serializer(), bytes.serializer(), "activity");
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        seen = new Seen(context.getStateStore(Seen.STORE));
        views = new Counts(context.getStateStore(Counts.STORE), MINUTE);
        sales = context.getStateStore(Sales.STORE);
        context.schedule(TELL, PunctuationType.WALL_CLOCK_TIME, this::tell);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Event event = Event.parse(record.value(), record.timestamp());
        if (event == null) {
            context.forward(record, "dead");
            return;
        }
        if (!seen.first(event.eventId(), event.timestamp())) {
            return;
        }
        context.forward(record.withValue(Json.write(ENRICHED, Enriched.of(event))), "enriched");
        switch (event.action()) {
            case "view" -> {
                if (event.page() != null) {
                    views.add(event.page(), event.timestamp());
                }
            }
            case "purchase", "refund" -> Sales.add(sales, event);
            default -> {}
        }
    }

    private void tell(long now) {
        int partition = context.taskId().partition();
        views.tell(
            (page, start, count) -> {
                long second = start / 1000;
                PageCount value = new PageCount(page, partition, second, second + MINUTE.toSeconds(), count);
                byte[] key = page.getBytes(StandardCharsets.UTF_8);
                context.forward(new Record<>(key, Json.write(PAGE_COUNT, value), now), "counts");
            });
    }
}
