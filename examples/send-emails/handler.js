// The function: one complete event in, one e-mail out. Shaped as AWS Lambda calls it for a Kafka event source.
//
// It has no database, no state and no memory of what it sent: everything the e-mail says is in the event, and the topic
// holds exactly one event per paid order, so there is nothing to look up and nothing to remove twice.
// "Sending" appends a line to the file named by MAILBOX, or prints it.
'use strict';

const { appendFile } = require('node:fs/promises');

const decode = (base64) => JSON.parse(Buffer.from(base64, 'base64').toString('utf8'));

async function send(lines) {
  if (process.env.MAILBOX) await appendFile(process.env.MAILBOX, lines.join(''));
  else process.stdout.write(lines.join(''));
}

exports.handler = async (event) => {
  const emails = Object.values(event.records).flat().map((record) => {
    const order = decode(record.value);
    return `order ${order.order_id}: Dear ${order.name} <${order.email}>, we received your ${order.amount} at ${order.paid_at}\n`;
  });
  await send(emails);
  return { sent: emails.length };
};
