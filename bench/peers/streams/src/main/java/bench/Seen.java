package bench;

import java.time.Duration;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Deduplication by id. The ids of a time to live share a window: two look-ups by key tell a repeat, where
 * the usual fetch of a range of times would open an iterator for each event, and old ids go by the segment.
 */
final class Seen {
    static final String STORE = "seen";
    private static final long TTL = Long.parseLong(Main.env("BENCH_DEDUP_SECONDS")) * 1000;

    private final WindowStore<String, Long> store;

    Seen(WindowStore<String, Long> store) {
        this.store = store;
    }

    /** Remembers an id; whether it is new. */
    boolean first(String id, long time) {
        long window = time / TTL * TTL;
        Long known = store.fetch(id, window);
        if (known == null && window >= TTL) {
            known = store.fetch(id, window - TTL);
        }
        if (known != null && time - known < TTL) {
            return false;
        }
        store.put(id, time, window);
        return true;
    }

    static StoreBuilder<WindowStore<String, Long>> builder() {
        Duration ttl = Duration.ofMillis(TTL);
        return Stores.windowStoreBuilder(
            Stores.persistentWindowStore(STORE, ttl.multipliedBy(2), ttl, false), Serdes.String(), Serdes.Long());
    }
}
