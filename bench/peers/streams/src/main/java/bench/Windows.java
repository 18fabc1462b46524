package bench;

import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/** The same jobs as in `bench/windows`, with the DSL. */
final class Windows {
    private static final Duration SIZE = Duration.ofMinutes(1);
    private static final Duration STEP = Duration.ofSeconds(1);
    private static final Duration GRACE = Duration.ofSeconds(2);
    private static final Duration RETENTION = Duration.ofDays(1);
    // Here, not there, events just a gap apart are of one session.
    private static final Duration LESS = Duration.ofMillis(1);
    private static final Duration GAP = Duration.ofSeconds(4).minus(LESS);

    record Measure(String key, long value, long timestamp) {}

    record Result(String key, double start, double end, long count, long sum, long min, long max) {
        static Result of(Windowed<String> window, Figures figures) {
            return new Result(
                window.key(), window.window().start() / 1000.0, window.window().end() / 1000.0,
                figures.count, figures.sum, figures.min, figures.max);
        }
    }

    record Figures(long count, long sum, long min, long max) {
        static final Figures NONE = new Figures(0, 0, Long.MAX_VALUE, Long.MIN_VALUE);

        static Figures add(String key, Measure event, Figures figures) {
            return merge(key, figures, new Figures(1, event.value, event.value, event.value));
        }

        static Figures merge(String key, Figures one, Figures other) {
            return new Figures(
                one.count + other.count,
                one.sum + other.sum,
                Math.min(one.min, other.min),
                Math.max(one.max, other.max));
        }
    }

    private static final Serde<Measure> EVENTS = json(Measure.class);
    private static final Serde<Result> RESULTS = json(Result.class);
    private static final Serde<Figures> ROWS = Serdes.serdeFrom((topic, f) -> pack(f), (topic, bytes) -> unpack(bytes));

    static Topology topology(String kind) {
        StreamsBuilder builder = new StreamsBuilder();
        KGroupedStream<String, Measure> events =
            builder
                .stream(
                    Main.topic("windows.raw"),
                    Consumed.with(Serdes.String(), EVENTS)
                        .withTimestampExtractor((record, before) -> ((Measure) record.value()).timestamp()))
                .groupByKey(Grouped.with(Serdes.String(), EVENTS));
        TimeWindows tumbling = TimeWindows.ofSizeAndGrace(SIZE, GRACE);
        KTable<Windowed<String>, Figures> figures =
            switch (kind) {
                case "tumbling" -> inWindows(events, tumbling);
                case "hopping" -> inWindows(events, tumbling.advanceBy(STEP));
                case "sessions" -> inSessions(events);
                default -> throw new IllegalArgumentException(kind);
            };
        figures
            .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
            .toStream()
            .map((window, total) -> KeyValue.pair(window.key(), Result.of(window, total)))
            .to(Main.topic("windows.results"), Produced.with(Serdes.String(), RESULTS));
        return builder.build();
    }

    private static KTable<Windowed<String>, Figures> inWindows(
            KGroupedStream<String, Measure> events, TimeWindows windows) {
        return events
            .windowedBy(windows)
            .aggregate(
                () -> Figures.NONE,
                Figures::add,
                Materialized.<String, Figures, WindowStore<Bytes, byte[]>>with(Serdes.String(), ROWS)
                    .withRetention(RETENTION));
    }

    private static KTable<Windowed<String>, Figures> inSessions(KGroupedStream<String, Measure> events) {
        return events
            .windowedBy(SessionWindows.ofInactivityGapAndGrace(GAP, GRACE.plus(LESS)))
            .aggregate(
                () -> Figures.NONE,
                Figures::add,
                Figures::merge,
                Materialized.<String, Figures, SessionStore<Bytes, byte[]>>with(Serdes.String(), ROWS)
                    .withRetention(RETENTION));
    }

    private static <T> Serde<T> json(Class<T> type) {
        ObjectReader reader = Json.reader(type);
        ObjectWriter writer = Json.writer(type);
        return Serdes.serdeFrom(
            (topic, value) -> Json.write(writer, value),
            (topic, bytes) -> {
                try {
                    return reader.readValue(bytes);
                } catch (IOException exc) {
                    throw new SerializationException(exc);
                }
            });
    }

    private static byte[] pack(Figures figures) {
        return figures == null
            ? null
            : ByteBuffer.allocate(32)
                .putLong(figures.count).putLong(figures.sum).putLong(figures.min).putLong(figures.max)
                .array();
    }

    private static Figures unpack(byte[] bytes) {
        if (bytes == null) {
            return null;
        }
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        return new Figures(buffer.getLong(), buffer.getLong(), buffer.getLong(), buffer.getLong());
    }

    private Windows() {}
}
