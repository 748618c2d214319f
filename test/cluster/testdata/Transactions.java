import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A transactional producer on Kafka's own client: BROKERS TRANSACTIONAL_ID. It takes commands, one a line, their words
 * separated by tabs: begin, send TOPIC PARTITION KEY VALUE, flush, commit, abort. It answers each with a line: ok, or what
 * went wrong.
 */
public class Transactions {
    public static void main(String[] words) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", words[0]);
        properties.put("transactional.id", words[1]);
        properties.put("compression.type", "snappy");
        properties.put("linger.ms", "50"); // several records in a batch
        KafkaProducer<String, String> producer =
                new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        producer.initTransactions();
        System.out.println("ok");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] command = line.split("\t");
            try {
                switch (command[0]) {
                    case "begin" -> producer.beginTransaction();
                    case "send" -> producer.send(new ProducerRecord<>(
                            command[1], Integer.parseInt(command[2]), command[3], command[4]));
                    case "flush" -> producer.flush();
                    case "commit" -> producer.commitTransaction();
                    case "abort" -> producer.abortTransaction();
                    default -> throw new IllegalArgumentException(command[0]);
                }
                System.out.println("ok");
            } catch (Exception e) {
                System.out.println(e);
            }
        }
        Runtime.getRuntime().halt(0); // without a goodbye: what is open stays open
    }
}
