// The types of protocol-types.mjs, for the drift test.
export declare const SCHEMA_PATH: string;
export declare const TYPES_PATH: string;
export declare function makeTypes(): Promise<string>;
