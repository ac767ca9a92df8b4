/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
export async function untilAsked(): Promise<void> {
  await new Promise<void>((resolve) => {
    let asked = false;
    const ask = (): void => {
      if (asked) process.exit(1);
      asked = true;
      resolve();
    };
    process.on('SIGINT', ask);
    process.on('SIGTERM', ask);
  });
}
