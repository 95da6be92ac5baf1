/** A process that was started with an IPC channel ends with its parent, whatever happens to that one. */
export function endWithChannel(): void {
  const end = (): void => process.exit(0);
  process.on('disconnect', end);
  // A message to one that has been killed, before the end of the channel was seen: nobody is left to hear of it.
  process.on('error', end);
  // The parent decides on its end.
  process.on('SIGINT', () => {});
}
