/** What the applications on top of connections count, that measure TCP (not the web application). */
export const TCP_APP_COUNTERS = [
  'connections',
  /** Payload that lies in, or came from, the application's own memory. */
  'receivedBytes',
  'sentBytes',
  'resets',
] as const;
