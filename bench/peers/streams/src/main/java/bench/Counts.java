package bench;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/** Counts per key and window, and which of them have changed since they were last told. */
final class Counts {
    static final String STORE = "counts";
    private static final Duration RETENTION = Duration.ofDays(1);

    record Window(String key, long start) {}

    interface Reader {
        void changed(String key, long start, long count);
    }

    private final WindowStore<String, Long> store;
    private final long size;
    private final Map<Window, Long> changed = new LinkedHashMap<>();

    Counts(WindowStore<String, Long> store, Duration size) {
        this.store = store;
        this.size = size.toMillis();
    }

    void add(String key, long time) {
        long start = time / size * size;
        Long before = store.fetch(key, start);
        long count = before == null ? 1 : before + 1;
        store.put(key, count, start);
        changed.put(new Window(key, start), count);
    }

    /** Tells each count that has changed, once. */
    void tell(Reader reader) {
        changed.forEach((window, count) -> reader.changed(window.key(), window.start(), count));
        changed.clear();
    }

    static StoreBuilder<WindowStore<String, Long>> builder(Duration size) {
        return Stores.windowStoreBuilder(
                Stores.persistentWindowStore(STORE, RETENTION, size, false), Serdes.String(), Serdes.Long())
            .withCachingEnabled();
    }
}
