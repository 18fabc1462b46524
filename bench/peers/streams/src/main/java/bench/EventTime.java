package bench;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import java.io.IOException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
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
        // `2026-01-31T12:00:00.123456Z` by hand: the formatter of java.time took a quarter of the thread.
        if (text.length() >= 20 && text.length() <= 30 && text.charAt(text.length() - 1) == 'Z') {
            long millis = common(text);
            return millis >= 0 ? millis : Instant.parse(text).toEpochMilli();
        }
        return text.indexOf('+') > 0 || text.lastIndexOf('-') > 10
            ? OffsetDateTime.parse(text).toInstant().toEpochMilli()
            : LocalDateTime.parse(text).toInstant(ZoneOffset.UTC).toEpochMilli();
    }

    /** Returns -1 for what is written in another way. */
    private static long common(String text) {
        int year = digits(text, 0, 4), month = digits(text, 5, 7), day = digits(text, 8, 10);
        int hour = digits(text, 11, 13), minute = digits(text, 14, 16), second = digits(text, 17, 19);
        boolean plain =
            text.charAt(4) == '-' && text.charAt(7) == '-' && text.charAt(10) == 'T'
                && text.charAt(13) == ':' && text.charAt(16) == ':'
                && year >= 1970 && month >= 0 && day >= 0
                && hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second < 60;
        int millis = 0;
        if (plain && text.length() > 20) {
            String fraction = text.substring(20, text.length() - 1);
            plain = text.charAt(19) == '.' && fraction.length() >= 3 && digits(fraction, 0, fraction.length()) >= 0;
            millis = plain ? digits(fraction, 0, 3) : 0;
        }
        // It checks the day of the month.
        return plain
            ? LocalDate.of(year, month, day).toEpochDay() * 86_400_000L
                + (hour * 3600 + minute * 60 + second) * 1000L + millis
            : -1;
    }

    private static int digits(String text, int start, int end) {
        int number = 0;
        for (int i = start; i < end; i++) {
            int digit = text.charAt(i) - '0';
            if (digit < 0 || digit > 9) {
                return -1;
            }
            number = number * 10 + digit;
        }
        return number;
    }
}
