/** RFC 8628: a device shows a code, and a person answers for it in a browser of theirs. */
export const DEVICE_SECONDS = 600;
export const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/** What a device's record says; `error` once the person has refused. */
export type DevicePayload = { params: { scope?: string; resource?: string }; error?: 'access_denied' };
