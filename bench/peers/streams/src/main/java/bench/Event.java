package bench;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.annotation.JsonDeserialize;
import java.io.IOException;
import java.util.Map;
import java.util.Set;

/** One thing that a user did; see `bench/rules.py`. */
record Event(
    @JsonProperty("event_id") String eventId,
    @JsonProperty("user_id") String userId,
    String action,
    @JsonDeserialize(using = EventTime.class) Long timestamp,
    String page,
    Double amount,
    Integer quantity,
    String currency,
    String country,
    @JsonProperty("session_id") String sessionId,
    Map<String, Object> attributes) {

    private static final int MAX_BYTES = 262_144;
    private static final long MAX_FUTURE_MILLIS = 24 * 3600 * 1000L;
    private static final Set<String> ACTIONS =
        Set.of("view", "click", "search", "login", "logout", "rating", "purchase", "refund");
    private static final ObjectReader READER = Json.reader(Event.class);

    /** Returns null if the value is no event. */
    static Event parse(byte[] value, long appended) {
        if (value == null || value.length > MAX_BYTES) {
            return null;
        }
        try {
            Event event = READER.readValue(value);
            return event != null && event.valid() && event.timestamp - appended <= MAX_FUTURE_MILLIS ? event : null;
        } catch (IOException exc) {
            return null;
        }
    }

    private boolean valid() {
        return eventId != null
            && userId != null
            && action != null
            && timestamp != null
            && text(eventId, 128)
            && text(userId, 128)
            && ACTIONS.contains(action)
            && text(page, 2048)
            && (amount == null || (amount >= -1e9 && amount <= 1e9))
            && (quantity == null || (quantity >= -1_000_000_000 && quantity <= 1_000_000_000))
            && (currency == null || currency(currency))
            && text(country, 64)
            && text(sessionId, 128)
            && (attributes == null || attributes.size() <= 64);
    }

    private static boolean text(String text, int longest) {
        return text == null || (!text.isEmpty() && text.length() <= longest);
    }

    private static boolean currency(String code) {
        return code.length() == 3 && code.chars().allMatch(c -> c >= 'A' && c <= 'Z');
    }
}
