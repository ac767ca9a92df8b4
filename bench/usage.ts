/** What processes and the machine used, from /proc (Linux). Times are in ticks of 10 ms. */
import { readFileSync } from 'node:fs';

const TICK_MS = 10;

/** Fields of /proc/PID/stat after the name, which may hold spaces and brackets. */
function statOf(pid: number | 'self'): number[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
}

/** Processor time of these processes so far, in milliseconds. */
export function cpuMs(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = statOf(pid);
    ticks += (stat[11] ?? 0) + (stat[12] ?? 0);
  }
  return ticks * TICK_MS;
}

/** The same for this process and for every child of it that has ended. */
export function ownCpuMs(): number {
  const stat = statOf('self');
  return [11, 12, 13, 14].reduce((sum, index) => sum + (stat[index] ?? 0), 0) * TICK_MS;
}

/** Resident memory of these processes, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  let kilobytes = 0;
  for (const pid of pids) {
    kilobytes += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  }
  return kilobytes * 1024;
}

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** @param stat text of /proc/stat; interrupts are left out of `busy`, since nobody's processes are charged for them */
export function machineMs(stat = readFileSync('/proc/stat', 'utf8')): { busy: number; total: number } {
  const fields = (stat.split('\n')[0] ?? '').trim().split(/\s+/).slice(1, 9).map(Number);
  const [user = 0, nice = 0, system = 0, , , , , steal = 0] = fields;
  return { busy: (user + nice + system + steal) * TICK_MS, total: fields.reduce((a, b) => a + b, 0) * TICK_MS };
}
