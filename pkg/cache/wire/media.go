package wire

// MediaType is the encoding's name in Accept and Content-Type.
func (e Encoding) MediaType() string {
	if e == Protobuf {
		return "application/vnd.kubernetes.protobuf"
	}
	return "application/json"
}

// String is the encoding's name, for metrics and logs.
func (e Encoding) String() string {
	if e == Protobuf {
		return "protobuf"
	}
	return "json"
}
