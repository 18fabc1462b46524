package bench;

import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/** Runs the topology that the first argument names, until SIGTERM. */
public final class Main {
    public static void main(String[] args) {
        Topology topology =
            switch (args[0]) {
                case "activity" -> Activity.topology();
                case "ads" -> Ads.topology();
                default -> Windows.topology(args[0]);
            };
        KafkaStreams streams = new KafkaStreams(topology, properties());
        streams.setUncaughtExceptionHandler(
            problem -> {
                problem.printStackTrace();
                Runtime.getRuntime().halt(1);
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Properties properties() {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, env("MILLSTREAM_APP_ID"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, env("KAFKA_BOOTSTRAP_SERVERS"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, env("MILLSTREAM_STATE_DIR"));
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        // Changelogs of one broker; the default asks the broker for its own.
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        // Windows' changelogs go by event time, which is long ago: Kafka would delete what was just written.
        properties.put(StreamsConfig.WINDOW_STORE_CHANGE_LOG_ADDITIONAL_RETENTION_MS_CONFIG, Long.MAX_VALUE / 2);
        // acks=all and idempotence are Kafka's defaults.
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 * 1024 * 1024);
        // What a contestant sets beyond it: name=value, with commas.
        for (String setting : System.getenv().getOrDefault("BENCH_STREAMS", "").split(",")) {
            if (!setting.isEmpty()) {
                properties.put(setting.substring(0, setting.indexOf('=')), setting.substring(setting.indexOf('=') + 1));
            }
        }
        return properties;
    }

    static String env(String name) {
        String value = System.getenv(name);
        if (value == null) {
            throw new IllegalStateException(name + " is not set");
        }
        return value;
    }

    static String topic(String name) {
        return env("MILLSTREAM_TOPIC_PREFIX") + name;
    }

    private Main() {}
}
