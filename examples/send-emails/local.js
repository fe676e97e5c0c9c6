// What AWS does between a Kafka topic and a Lambda function (event source "SelfManagedKafka"), on this machine: it reads the
// topic in batches, in order within each partition, committed records only, calls the handler with them, and commits the
// offsets once the handler has resolved. A handler that throws gets the same batch again.
//
// usage: node local.js BOOTSTRAP TOPIC [GROUP]     runs until SIGTERM or SIGINT
'use strict';

const { Kafka, CompressionCodecs, CompressionTypes, logLevel } = require('kafkajs');
const lz4 = require('lz4js');
const { handler } = require('./handler.js');

const BATCH_SIZE = 100;

// kafkajs brings gzip only; the sink topics are written with lz4
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
});

const base64 = (bytes) => (bytes === null ? null : bytes.toString('base64'));

const toRecord = (topic, partition, message) => ({
  topic,
  partition,
  offset: Number(message.offset),
  timestamp: Number(message.timestamp),
  timestampType: 'CREATE_TIME',
  key: base64(message.key),
  value: base64(message.value),
  headers: Object.entries(message.headers ?? {}).map(([name, value]) => ({ [name]: [...value] })),
});

const toEvent = (bootstrapServers, topic, partition, messages) => ({
  eventSource: 'SelfManagedKafka',
  bootstrapServers,
  records: { [`${topic}-${partition}`]: messages.map((message) => toRecord(topic, partition, message)) },
});

async function run(bootstrapServers, topic, groupId) {
  const kafka = new Kafka({ clientId: 'local-event-source', brokers: bootstrapServers.split(','), logLevel: logLevel.WARN });
  const consumer = kafka.consumer({ groupId, readUncommitted: false, maxWaitTimeInMs: 100 });

  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      for (let at = 0; at < batch.messages.length && isRunning() && !isStale(); at += BATCH_SIZE) {
        const messages = batch.messages.slice(at, at + BATCH_SIZE);
        const last = messages[messages.length - 1].offset;

        await handler(toEvent(bootstrapServers, topic, batch.partition, messages));
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(BigInt(last) + 1n) }]);
        resolveOffset(last);
        await heartbeat();
      }
    },
  });

  const stop = () => consumer.disconnect().then(() => process.exit(0));
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

const [bootstrapServers, topic, groupId = 'send-emails'] = process.argv.slice(2);
if (!topic) {
  console.error('usage: node local.js BOOTSTRAP TOPIC [GROUP]');
  process.exit(2);
}
run(bootstrapServers, topic, groupId).catch((error) => {
  console.error(error);
  process.exit(1);
});
