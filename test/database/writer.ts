/** Writes rows without end and names each one on stdout once its commit was acknowledged; the test kills it. */
import { writeSync } from 'node:fs';
import { systemClock } from '../../src/clock.ts';
import { openDatabase } from '../../src/database/database.ts';
import { createLog } from '../../src/log.ts';

const [dataDir = ''] = process.argv.slice(2);
const database = await openDatabase({ dataDir, clock: systemClock, log: createLog({ level: 'silent' }) });
for (let row = 1; ; row++) {
  await database.transaction(async (query) => {
    await query
      .insertInto('instance')
      .values({ name: `row ${row}`, value: 'written' })
      .execute();
  });
  writeSync(1, `row ${row}\n`);
}
