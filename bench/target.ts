/** Something that a call goes through, and how it is brought up. */
export type Target = {
  name: string;
  url: string;
  /** What a client presents. */
  token: string;
  /** The processes in between; none for a direct call. */
  pids: readonly number[];
  close(): Promise<void>;
};
