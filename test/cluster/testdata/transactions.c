// A transactional producer on librdkafka: BROKERS TRANSACTIONAL_ID. It takes commands, one a line, their words separated by
// tabs: begin, send TOPIC PARTITION KEY VALUE, flush, commit, abort. It answers each with a line: ok, or what went wrong.
//
// The declarations are librdkafka's, whose headers are in a package that kcat does not bring along.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_topic_conf_s rd_kafka_topic_conf_t;
typedef struct rd_kafka_error_s rd_kafka_error_t;

rd_kafka_conf_t *rd_kafka_conf_new(void);
int rd_kafka_conf_set(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
rd_kafka_t *rd_kafka_new(int, rd_kafka_conf_t *, char *, size_t);
rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *, const char *, rd_kafka_topic_conf_t *);
void rd_kafka_topic_destroy(rd_kafka_topic_t *);
int rd_kafka_produce(rd_kafka_topic_t *, int32_t, int, void *, size_t, const void *, size_t, void *);
int rd_kafka_flush(rd_kafka_t *, int);
rd_kafka_error_t *rd_kafka_init_transactions(rd_kafka_t *, int);
rd_kafka_error_t *rd_kafka_begin_transaction(rd_kafka_t *);
rd_kafka_error_t *rd_kafka_commit_transaction(rd_kafka_t *, int);
rd_kafka_error_t *rd_kafka_abort_transaction(rd_kafka_t *, int);
const char *rd_kafka_error_string(const rd_kafka_error_t *);

enum { PRODUCER = 0, COPY = 2, WAIT = 30000 };

static rd_kafka_t *producer;

static void answer(rd_kafka_error_t *error) {
    puts(error ? rd_kafka_error_string(error) : "ok");
    fflush(stdout);
}

static void send_record(void) {
    char *topic = strtok(NULL, "\t"), *partition = strtok(NULL, "\t"), *key = strtok(NULL, "\t"), *value = strtok(NULL, "\t");
    rd_kafka_topic_t *to = rd_kafka_topic_new(producer, topic, NULL);
    int failed = rd_kafka_produce(to, atoi(partition), COPY, value, strlen(value), key, strlen(key), NULL);
    rd_kafka_topic_destroy(to);
    puts(failed ? "not produced" : "ok");
    fflush(stdout);
}

int main(int count, char **words) {
    char wrong[512], line[65536];
    if (count != 3) return 2;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", words[1], wrong, sizeof wrong);
    rd_kafka_conf_set(conf, "transactional.id", words[2], wrong, sizeof wrong);
    rd_kafka_conf_set(conf, "compression.codec", "snappy", wrong, sizeof wrong);
    producer = rd_kafka_new(PRODUCER, conf, wrong, sizeof wrong);
    if (!producer) {
        puts(wrong);
        return 1;
    }
    answer(rd_kafka_init_transactions(producer, WAIT));
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *command = strtok(line, "\t");
        if (!command) return 2;
        if (!strcmp(command, "begin")) answer(rd_kafka_begin_transaction(producer));
        else if (!strcmp(command, "send")) send_record();
        else if (!strcmp(command, "flush")) puts(rd_kafka_flush(producer, WAIT) ? "not flushed" : "ok"), fflush(stdout);
        else if (!strcmp(command, "commit")) answer(rd_kafka_commit_transaction(producer, WAIT));
        else if (!strcmp(command, "abort")) answer(rd_kafka_abort_transaction(producer, WAIT));
        else return 2;
    }
    return 0; // without a goodbye: what is open stays open
}
