package bench;

import java.nio.ByteBuffer;
import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/** Sales of a country in a minute; `micros` are millionths of the currency's unit. */
record Sales(long purchases, long refunds, long micros) {
    static final String STORE = "sales";
    private static final Sales NONE = new Sales(0, 0, 0);
    private static final long MINUTE = 60_000;

    static void add(WindowStore<String, Sales> store, Event event) {
        String country = event.country() == null ? "unknown" : event.country();
        long start = event.timestamp() / MINUTE * MINUTE;
        Sales before = store.fetch(country, start);
        store.put(country, (before == null ? NONE : before).with(event), start);
    }

    private Sales with(Event event) {
        boolean refund = event.action().equals("refund");
        long more = event.amount() == null ? 0 : Math.round(event.amount() * 1e6);
        return new Sales(purchases + (refund ? 0 : 1), refunds + (refund ? 1 : 0), micros + more);
    }

    static StoreBuilder<WindowStore<String, Sales>> builder() {
        Serde<Sales> serde =
            Serdes.serdeFrom(
                (topic, s) -> s == null
                    ? null
                    : ByteBuffer.allocate(24).putLong(s.purchases).putLong(s.refunds).putLong(s.micros).array(),
                (topic, bytes) -> {
                    if (bytes == null) {
                        return null;
                    }
                    ByteBuffer buffer = ByteBuffer.wrap(bytes);
                    return new Sales(buffer.getLong(), buffer.getLong(), buffer.getLong());
                });
        return Stores.windowStoreBuilder(
                Stores.persistentWindowStore(STORE, Duration.ofDays(1), Duration.ofMillis(MINUTE), false),
                Serdes.String(), serde)
            .withCachingEnabled();
    }
}
