package bench;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import java.io.IOException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;

/** Reads an event time, ISO-8601 text or seconds since the epoch, as milliseconds since the epoch. */
final class EventTime extends StdDeserializer<Long> {
    EventTime() {
        super(Long.class);
    }

    @Override
    public Long deserialize(JsonParser parser, DeserializationContext context) throws IOException {
        switch (parser.currentToken()) {
            case VALUE_STRING:
                try {
                    return parse(parser.getText());
                } catch (DateTimeException exc) {
                    return (Long) context.handleWeirdStringValue(Long.class, parser.getText(), "no time");
                }
            case VALUE_NUMBER_INT:
            case VALUE_NUMBER_FLOAT:
                double seconds = parser.getDoubleValue();
                if (seconds < 0) {
                    return (Long) context.handleWeirdNumberValue(Long.class, seconds, "before 1970");
                }
                return (long) (seconds * 1000);
            default:
                return (Long) context.handleUnexpectedToken(Long.class, parser);
        }
    }

    private static long parse(String text) {
        if (text.endsWith("Z")) {
            return Instant.parse(text).toEpochMilli();
        }
        return text.indexOf('+') > 0 || text.lastIndexOf('-') > 10
            ? OffsetDateTime.parse(text).toInstant().toEpochMilli()
            : LocalDateTime.parse(text).toInstant(ZoneOffset.UTC).toEpochMilli();
    }
}
