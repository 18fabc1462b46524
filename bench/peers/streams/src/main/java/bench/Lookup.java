package bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Collectors;

/** A static map, from a file with a tab between key and value. */
final class Lookup {
    static Map<String, String> read(String variable) {
        try (var lines = Files.lines(Path.of(Main.env(variable)))) {
            return lines.map(line -> line.split("\t")).collect(Collectors.toMap(cells -> cells[0], cells -> cells[1]));
        } catch (IOException exc) {
            throw new UncheckedIOException(exc);
        }
    }

    private Lookup() {}
}
