package wire

// MediaType is the encoding's name in Accept and Content-Type.
func (e Encoding) MediaType() string {
	if e == Protobuf {
		return "application/vnd.kubernetes.protobuf"
	}
	return "application/json"
}
