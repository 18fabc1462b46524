package bench;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import java.util.Locale;
import java.util.Map;

/** An event seen for the first time, with what we know about it. */
@JsonInclude(JsonInclude.Include.NON_NULL)
record Enriched(
    @JsonProperty("event_id") String eventId,
    @JsonProperty("user_id") String userId,
    String action,
    long timestamp,
    String page,
    Double amount,
    Integer quantity,
    String currency,
    String country,
    @JsonProperty("session_id") String sessionId,
    Map<String, Object> attributes,
    @JsonProperty("risk_level") String riskLevel,
    String region) {

    private static final Map<String, String> REGIONS = Lookup.read("BENCH_REGIONS");

    static Enriched of(Event e) {
        String risk = e.amount() == null || e.amount() <= 500 ? "low" : e.amount() > 1000 ? "high" : "medium";
        String region = e.country() == null ? null : REGIONS.get(e.country().strip().toLowerCase(Locale.ROOT));
        return new Enriched(
            e.eventId(), e.userId(), e.action(), e.timestamp(), e.page(), e.amount(), e.quantity(),
            e.currency(), e.country(), e.sessionId(), e.attributes(), risk, region);
    }
}
